! SPDX-License-Identifier: Apache-2.0
!> How much shortwave the surface sends back.
module albedo
   use constants, only: wp
   use snow, only: snow_albedo
   implicit none
   private
   public :: surface_albedo

   real(wp), parameter :: dry_soil = 0.34_wp
   real(wp), parameter :: wet_soil = 0.16_wp
      !! Soil darkens as it gets wet (Idso et al. 1975).
   real(wp), parameter :: leaves = 0.15_wp
   real(wp), parameter :: leaves_over_snow = 0.25_wp
      !! Trees stand out of the snow (Essery 2013).

contains

   elemental real(wp) function surface_albedo(cover, snow_covered, soil_wetness, skin) result(mean)
      !! Mean over leaves, bare soil and snow [1].
      real(wp), intent(in) :: cover
         !! Part of the ground under leaves [1].
      real(wp), intent(in) :: snow_covered
         !! Part of the ground under snow [1].
      real(wp), intent(in) :: soil_wetness
         !! Saturation of the upper soil layer [1].
      real(wp), intent(in) :: skin
         !! Skin temperature of the step before [K].
      real(wp) :: soil

      soil = dry_soil + (wet_soil - dry_soil)*min(1.0_wp, 2.0_wp*soil_wetness)
      mean = (1.0_wp - snow_covered)*(cover*leaves + (1.0_wp - cover)*soil) &
         + snow_covered*(cover*leaves_over_snow + (1.0_wp - cover)*snow_albedo(skin))
   end function surface_albedo
end module albedo
