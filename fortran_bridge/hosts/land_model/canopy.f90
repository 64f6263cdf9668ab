! SPDX-License-Identifier: Apache-2.0
!> Leaves: how much ground they cover, how much rain they hold, how freely they transpire.
module canopy
   use constants, only: wp
   implicit none
   private
   public :: canopy_cover, canopy_capacity, wet_fraction, canopy_conductance

contains

   elemental real(wp) function canopy_cover(lai)
      !! Part of the ground under leaves, from the extinction of light in a canopy of random leaves
      !! (Monsi and Saeki 1953) [1].
      real(wp), intent(in) :: lai
         !! [1]
      real(wp), parameter :: extinction = 0.5_wp

      canopy_cover = 1.0_wp - exp(-extinction*lai)
   end function canopy_cover

   elemental real(wp) function canopy_capacity(lai)
      !! Rain that leaves can hold (Dickinson 1984) [kg m-2].
      real(wp), intent(in) :: lai
         !! [1]
      real(wp), parameter :: per_leaf_area = 0.2_wp

      canopy_capacity = per_leaf_area*lai
   end function canopy_capacity

   elemental real(wp) function wet_fraction(water, capacity)
      !! Part of the leaves that is wet (Deardorff 1978, doi 10.1029/JC083iC04p01889) [1].
      real(wp), intent(in) :: water
      real(wp), intent(in) :: capacity
         !! [kg m-2]

      wet_fraction = 0.0_wp
      if (water > 0.0_wp .and. capacity > 0.0_wp) wet_fraction = min(1.0_wp, water/capacity)**(2.0_wp/3.0_wp)
   end function wet_fraction

   elemental real(wp) function canopy_conductance(lai, shortwave, temperature, humidity_deficit, soil_stress) &
      result(conductance)
      !! Conductance of the stomata of a canopy [m s-1].
      !!
      !! Jarvis (1976, doi 10.1098/rstb.1976.0035) in the form of Noilhan and Planton (1989,
      !! doi 10.1175/1520-0493(1989)117<0536:ASPOLS>2.0.CO;2) and Chen and Dudhia (2001): the largest conductance of
      !! a leaf, times the leaf area, times factors between 0 and 1 for light, warmth, dry air and dry soil.
      real(wp), intent(in) :: lai
         !! Leaf area of the ground under leaves [1].
      real(wp), intent(in) :: shortwave
         !! [W m-2]
      real(wp), intent(in) :: temperature
         !! Of the air [K].
      real(wp), intent(in) :: humidity_deficit
         !! Saturation less actual specific humidity [1].
      real(wp), intent(in) :: soil_stress
         !! 0: wilted, 1: no stress.
      real(wp), parameter :: least_resistance = 120.0_wp
         !! [s m-1]
      real(wp), parameter :: largest_resistance = 5000.0_wp
         !! [s m-1]
      real(wp), parameter :: bright = 65.0_wp
         !! Shortwave that opens stomata [W m-2].
      real(wp), parameter :: dryness = 45.0_wp
         !! How strongly dry air closes them [1].
      real(wp), parameter :: optimum = 298.0_wp
         !! [K]
      real(wp) :: light, warmth, dry_air

      conductance = 0.0_wp
      if (lai <= 0.0_wp .or. soil_stress <= 0.0_wp) return
      light = 0.55_wp*shortwave/bright*2.0_wp/lai
      light = (light + least_resistance/largest_resistance)/(1.0_wp + light)
      warmth = max(0.0_wp, 1.0_wp - 0.0016_wp*(optimum - temperature)**2)
      dry_air = 1.0_wp/(1.0_wp + dryness*max(0.0_wp, humidity_deficit))
      conductance = lai/least_resistance*light*warmth*dry_air*soil_stress
   end function canopy_conductance
end module canopy
