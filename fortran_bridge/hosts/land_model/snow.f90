! SPDX-License-Identifier: Apache-2.0
!> Snow on the ground: how much of it is seen, how bright it is, how well it insulates.
module snow
   use constants, only: freezing_point, wp
   implicit none
   private
   public :: snow_cover, snow_albedo, snow_resistance

   real(wp), parameter :: half_cover = 10.0_wp
      !! Snow store that covers half of the ground [kg m-2].
   real(wp), parameter :: cold_albedo = 0.80_wp
   real(wp), parameter :: melting_albedo = 0.45_wp
   real(wp), parameter :: cold = freezing_point - 5.0_wp
      !! Temperature below which snow keeps its brightness [K].
   real(wp), parameter :: density = 250.0_wp
      !! [kg m-3]
   real(wp), parameter :: conductivity = 0.25_wp
      !! At that density (Yen 1981) [W m-1 K-1].
   real(wp), parameter :: deepest = 1.0_wp
      !! Depth beyond which more snow no longer insulates [m].

contains

   elemental real(wp) function snow_cover(store)
      !! Part of the ground under snow (Verseghy 1991 and others use such a form) [1].
      real(wp), intent(in) :: store
         !! [kg m-2]

      snow_cover = store/(store + half_cover)
   end function snow_cover

   elemental real(wp) function snow_albedo(temperature)
      !! Albedo falls as snow warms to the melting point (Roeckner et al. 2003, ECHAM5, section 7.3) [1].
      real(wp), intent(in) :: temperature
         !! Skin temperature [K].
      real(wp) :: warmth

      warmth = max(0.0_wp, min(1.0_wp, (temperature - cold)/(freezing_point - cold)))
      snow_albedo = cold_albedo + warmth*(melting_albedo - cold_albedo)
   end function snow_albedo

   elemental real(wp) function snow_resistance(store)
      !! Resistance of the snow to heat flow [m2 K W-1].
      real(wp), intent(in) :: store
         !! [kg m-2]

      snow_resistance = min(store/density, deepest)/conductivity
   end function snow_resistance
end module snow
